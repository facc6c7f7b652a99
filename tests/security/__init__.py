"""The security checklist, one test for each of its points that has a part here; docs/threat-model.md says which is which."""
