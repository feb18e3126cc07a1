"""The data model: Arrow schemas of every table, configuration, reports, genres and error types."""
