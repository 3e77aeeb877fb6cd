"""Throw-away PostgreSQL and Valkey servers for the demo, the rehearsals and the tests.

They listen on 127.0.0.1 only, on a port that nothing else uses, keep everything in one private
folder and leave nothing behind, however their owner ends. Linux only: processes are found in
/proc.
"""
