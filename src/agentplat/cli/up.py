"""`agentplat up`."""

import click
import msgspec

from agentplat.cli.console import err, out
from agentplat.cli.supervisor import Platform, interruptible
from agentplat.infra.settings import get_settings


@click.command("up")
@click.option("--host", help="Address to listen on.  [default: AGENTPLAT_HOST or 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port to listen on.  [default: AGENTPLAT_PORT or 8006]")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
@click.option("--fake-llm", is_flag=True, help="Answer LLM blocks with the deterministic fake model.")
def command(host: str | None, port: int | None, workers: int, fake_llm: bool) -> None:
    """Start everything on this machine and keep it running.

    Postgres and Valkey are started too unless DATABASE_URL and REDIS_URL name servers of your own. Their data is in
    AGENTPLAT_HOME (~/.agentplat). Ctrl-C stops everything.
    """
    settings = get_settings()
    settings = msgspec.structs.replace(settings, host=host or settings.host, port=port or settings.port)

    def progress(message: str) -> None:
        err.print(f"[dim]{message} ...[/]")

    try:
        up = Platform(settings, fake_llm=fake_llm, workers=workers, scheduler=True, progress=progress)
        with interruptible(), up as platform:
            out.print(f"[bold green]agentplat is running[/] at {platform.url}")
            out.print(f"  API        {platform.url}/api      (OpenAPI: {platform.url}/openapi.json)")
            out.print(f"  WebSocket  {platform.ws_url}?token=TOKEN")
            if settings.enable_metrics:
                out.print(f"  Metrics    {platform.url}/metrics")
            out.print("  Token      agentplat token --email you@example.com")
            out.print("Press Ctrl-C to stop.")
            platform.wait()
    except KeyboardInterrupt:
        err.print("Stopped.")
