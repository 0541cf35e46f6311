.PHONY: help demo test lint format

help:   ## Show what there is.
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/: *##/\t/'

demo:   ## Run the embedded example.
	scripts/demo

test:   ## Run the tests.
	scripts/test

lint:   ## Check style and types.
	.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy

format: ## Format, and mend what ruff can.
	.venv/bin/ruff format . && .venv/bin/ruff check --fix .
