"""A verifier: a two-class model that says whether an answer gives the reference answer.

As in HuatuoGPT-o1 (Chen et al., 2024, arXiv:2412.18925): it reads the final response and the
reference answer as text, with its own tokenizer, so that it need not share a vocabulary with
the model that is trained. The reward and the stage that trains a verifier use the same code.
"""
