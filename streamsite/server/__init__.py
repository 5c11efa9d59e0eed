"""Our daphne: what has to be different from the stock server, each difference with the test that shows why.

Nothing is imported here: the supervisor, which must stay small, is one of the modules, and the loop has to be chosen
before daphne is imported.
"""
