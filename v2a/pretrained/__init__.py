"""Published codecs with their weights, in the layouts of their publishers."""
