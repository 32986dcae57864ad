# Everyday commands; each runs in the environment `.venv-test`, made by README's test command.

bin := ".venv-test/bin/"

# All checks that CI makes, but for the second Datasette line
check: lint types docs test

test *args:
    {{bin}}pytest {{args}}

# The tests on each Python that is declared and that this machine has
matrix *args:
    .ci/pythons {{args}}

lint:
    {{bin}}ruff format --check .
    {{bin}}ruff check .
    {{bin}}lint-imports
    {{bin}}deptry .

types:
    {{bin}}mypy

# Write --help texts into the docs, and what the commands print that pages show
cog:
    {{bin}}cog -r README.md docs/*.md
    {{bin}}python docs/console.py docs/*.md

# The commands of pages are checked by tests/test_docs.py
docs:
    {{bin}}cog --check README.md docs/*.md

# Build demo.db from its sources
demo-db:
    {{bin}}python demo/build.py

# Kill a run at every point there is, and let the model run long (about forty minutes)
chaos:
    CHAOS=all {{bin}}pytest -n 0 -s tests/reliability/test_kill.py tests/reliability/test_model.py
