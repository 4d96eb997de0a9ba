"""The web pages where people judge, chat and review. `app.create_app` makes the server; it loads no torch.

`writer` is the only one that writes the store; `identity` says who asks; `questions` what to ask next and how an answer is
taken in; the files of `screens/` are the pages, `api` the same for programs, and `client` a small client of it.
"""
