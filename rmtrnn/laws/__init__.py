"""Laws of one real variable, however they were found."""
