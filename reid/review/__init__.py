"""The review app: a person looks at pairs of photos and says what they show. It holds a `reid.Session` and knows no networks.

    serve -> guard -> app -> pairs, pages, pictures -> desk -> Session, DecisionLog
                                                        ^
                                      worker: extraction and matching, in a thread of its own

What people say goes into the log of decisions and nowhere else; all else can be computed again. The page runs on the user's own machine
and loads nothing from the network.
"""
