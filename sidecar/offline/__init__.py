"""The product's offline half: the same features and encoder, and never a socket."""
