"""How events are written as JSON and read back; `actorflow.events.to_json` and `from_json` are its door."""
