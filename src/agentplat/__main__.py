"""`python -m agentplat`: how the supervisor starts its children, whatever is on PATH."""

from agentplat.cli.main import main

if __name__ == "__main__":
    main()
