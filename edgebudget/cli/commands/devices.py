"""`edgebudget devices`: the profiles there are."""
