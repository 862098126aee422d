"""The engine: the only code that imports pika. One I/O thread for each connection, and nobody else touches pika."""
