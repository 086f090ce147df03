"""The retrieval server: `POST /retrieve`, requests of different clients searched together."""
