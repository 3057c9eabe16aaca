"""Networks and their layers. Parameters name logical axes; the mesh in use comes from `execution`."""
