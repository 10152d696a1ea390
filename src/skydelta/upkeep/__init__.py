"""Care for the folder of results: what is done, what is damaged, what to do again."""
