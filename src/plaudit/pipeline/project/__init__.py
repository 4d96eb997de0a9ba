"""A project: `plaudit.yaml` names stages, `plaudit run` runs those whose inputs changed.

`plan` reads and checks the file, `kinds` says what a stage can be, `keys` names a stage by the content of its inputs, `work` is
what the stages do that train nothing, `running` walks through them, `page` is the report, `start` makes a new project.
"""
