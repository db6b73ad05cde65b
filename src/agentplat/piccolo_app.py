"""What Piccolo has to know: where the migrations are, and every table of every domain."""

from pathlib import Path

from piccolo.conf.apps import AppConfig, table_finder

PACKAGE = Path(__file__).parent


def _migrations() -> Path:
    """Inside the package when installed from a wheel, at the root of the repository when working on it."""
    installed = PACKAGE / "migrations"
    return installed if installed.is_dir() else PACKAGE.parents[1] / "migrations"


APP_CONFIG = AppConfig(
    app_name="agentplat",
    migrations_folder_path=str(_migrations()),
    table_classes=table_finder(
        modules=[f"agentplat.{path.parent.name}.tables" for path in sorted(PACKAGE.glob("*/tables.py"))],
        exclude_imported=True,
    ),
)
