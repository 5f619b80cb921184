"""The drift audit: what is, compared with what should be. Facts are collected first, then judged purely.

collect ─> Facts ─> judge: each check a function from facts to findings
"""
