"""Tables in, figures out."""
