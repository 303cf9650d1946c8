"""Files to begin with."""

from __future__ import annotations

from importlib.resources import files

from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["GATEWAY", "TEMPLATES", "template", "write_file"]

GATEWAY = """\
# A gateway's configuration: `ipfs-accelerate serve --config FILE`, after `ipfs-accelerate config check FILE`.
#
# os.environ/NAME stands for the value of a variable, from the environment, .env or ~/.ipfs_api_credentials. Keys belong
# there, and not into this file.

gateway:
  host: 127.0.0.1
  port: 8000
  # Clients must show this key. Without one, whoever reaches the address may use it.
  #api_key: os.environ/GATEWAY_KEY
  # Serve every backend that has a key or address in the environment, and the models on this machine. Both are true
  # where neither model_list nor backends is there, and else false.
  environment: true
  local: true
  # Local models to load at the start, and not when they are first used.
  #preload: [all-MiniLM-L6-v2]

# For every backend. Durations are seconds.
settings:
  max_retries: 2
  #max_concurrent_requests: 100
  #queue_size: 1000
  #queue_timeout: 30
  #first_byte_timeout: 120
  #total_timeout: 600

# Backends all of whose models are served, as backend/model.
#backends:
#  groq:
#    settings:
#      max_concurrent_requests: 10
#  claude:
#    api_key: os.environ/ANTHROPIC_API_KEY
#  ollama:
#    base_url: http://127.0.0.1:11434
#  llvm:
#    base_url: http://127.0.0.1:8001/v1

# The names that clients ask for, and the model behind each; as LiteLLM has it.
#model_list:
#  - model_name: fast
#    litellm_params:
#      model: groq/llama-3.3-70b-versatile
#      api_key: os.environ/GROQ_API_KEY
#      rpm: 30
#  - model_name: mine
#    litellm_params:
#      model: openai/my-model
#      api_base: http://127.0.0.1:8002/v1
#      api_key: none
#  # Several targets behind one name: where one fails, is slow or full, the next one answers.
#  - name: smart
#    first_content_timeout: 20
#    targets:
#      - model: openai/gpt-4o
#        api_key: os.environ/OPENAI_API_KEY
#      - model: claude/claude-sonnet-4-5
#        api_key: os.environ/ANTHROPIC_API_KEY
#    fallbacks: [mine]
#  - model_name: small-embeddings
#    litellm_params:
#      model: local/all-MiniLM-L6-v2

# Keys of clients, each with its tenant, models, rates and budget.
#keys:
#  - name: search-team
#    key: os.environ/SEARCH_TEAM_KEY
#    models: [fast, smart]
#    requests_per_minute: 600
#    max_concurrent: 20

# Everything below is off unless it is here.
#cache:
#  exact: true
#single_flight: true
#ledger:
#  path: usage.sqlite3
#alerts:
#  - metric: error_rate
#    above: 0.05
"""

TEMPLATES = ("credentials", "gateway")


def template(kind: str) -> str:
    """The text of a template: ``credentials`` or ``gateway``."""
    if kind == "gateway":
        return GATEWAY
    return files("ipfs_accelerate_py").joinpath("credentials.template").read_text(encoding="utf-8")


def write_file(kind: str, path: str) -> None:
    """Write a template to a new file; one for keys can be read by its owner alone.

    Raises `ConfigurationError` where the file exists (it is never overwritten) or cannot be written.
    """
    if kind == "credentials":
        from ipfs_accelerate_py.credentials import write_template

        write_template(path)
        return
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(template(kind))
    except FileExistsError:
        raise ConfigurationError(f"{path} exists already and is left as it is") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
