"""How a worker tells whoever runs it that it lives and is ready: systemd, files, HTTP."""
