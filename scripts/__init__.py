"""Programs for developers: tables, files that are made from the source, mutations."""
