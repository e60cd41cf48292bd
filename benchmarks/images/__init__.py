"""Images for circuits and for the classical models that they have to beat."""
