"""Networks and their layers; they name logical axes only and know no mesh."""
