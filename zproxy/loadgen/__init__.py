"""Load: plain libzmq clients and workers, compiled and without the GIL, and measurements of proxies with them.

    stamp      what a payload carries, so that a reply can be checked
    sockets    some libzmq sockets of one thread
    clients    send, await, check, time          each in a process of its own, see __main__.py
    worker     sends everything back
    sleepers   workers that take their time, one of them ten times as much
    crowds     many requests of one Python program, of zproxy and of other systems
    newcomers  a connection for each message
    throwaway  a registry and keys for one session
    programs   what can be measured, and how it is started
    session    one program with its clients and workers, ready to be loaded
    cases      what is measured; rows with their targets
    pairs      zproxy and zmq.proxy in turn, ratios
    report     tables
"""
