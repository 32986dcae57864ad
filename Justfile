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

# Run the notebooks, and keep in them what their cells show
notebooks:
    {{bin}}python docs/notebooks.py docs/notebooks/*.ipynb

# The commands of pages, and the notebooks, are checked by tests/test_docs.py
docs:
    {{bin}}cog --check README.md docs/*.md

# The pages of the docs as a site in site/; a link that leads nowhere is an error
site:
    NO_MKDOCS_2_WARNING=1 {{bin}}mkdocs build --strict

# The terminal of README, drawn anew
recording:
    {{bin}}python docs/recording.py

# Wheel and sdist, built and tried in clean environments
packages:
    .ci/packages

# The newest versions of what we depend on, as a release is tested with them
lock:
    echo '# The versions that this release was tested with. Made by: just lock' > constraints.txt
    uv pip compile -q --universal --python-version 3.10 --no-emit-index-url --no-header --no-annotate \
        --extra local --extra images --extra server --no-emit-package sqlite-utils-openai-batch \
        pyproject.toml >> constraints.txt

# Build demo.db from its sources
demo-db:
    {{bin}}python demo/build.py

# Kill a run at every point there is, and let the model run long (about forty minutes)
chaos:
    CHAOS=all {{bin}}pytest -n 0 -s tests/reliability/test_kill.py tests/reliability/test_model.py
