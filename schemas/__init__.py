"""What the data is: Arrow schemas of every table, frozen configuration, genres, error types."""
