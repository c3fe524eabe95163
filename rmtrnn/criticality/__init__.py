"""Critical points: closed forms and a search."""
