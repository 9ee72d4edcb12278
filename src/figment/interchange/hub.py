"""A trained model on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from figment.core.errors import FigmentError, UsageError


def publish(run: str | Path, repository: str) -> str:
    """Uploads the `model/` folder of a run (weights, config, spec, card) to `owner/name`; returns its address.

    The Hub asks for a token: `hf auth login` keeps one. Raises UsageError for a name or run that cannot be,
    FigmentError where the Hub refuses or is out of reach.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    folder = Path(run) / "model"
    if not (folder / "manifest.json").is_file():
        raise UsageError(f"{run} holds no finished model to publish.")
    if repository.count("/") != 1:
        raise UsageError(f"--out {repository}: name a repository of the Hub as owner/name.")
    hub = HfApi()
    try:
        hub.create_repo(repository, exist_ok=True)
        return str(hub.upload_folder(repo_id=repository, folder_path=folder, commit_message="A model of figment"))
    except HFValidationError as error:
        raise UsageError(f"--out {repository}: {error}") from None
    except LocalTokenNotFoundError:
        raise FigmentError("the Hub asks who you are: run `hf auth login` first.") from None
    except (HfHubHTTPError, OSError) as error:
        raise FigmentError(f"the Hub did not take the model: {error}") from None
