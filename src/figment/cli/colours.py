"""`figment data colours`: the regions of like colour of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from figment.cli.commands import Json, data_app


@data_app.command("colours")
def data_colours(
    picture: Annotated[Path, typer.Argument(help="A picture file.")],
    count: Annotated[int | None, typer.Option(min=1, max=64, help="Regions, by k-means (without: mean shift).")] = None,
    bandwidth: Annotated[
        float | None, typer.Option(min=0.5, max=100, help="Mean shift: how unlike two colours are, in units of L*.")
    ] = None,
    size: Annotated[int, typer.Option(min=8, max=4096, help="Pixels of the longer side.")] = 512,
    out: Annotated[Path | None, typer.Option(help="x.png (default: PICTURE-colours.png).")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Where the search starts.")] = 0,
    as_json: Json = False,
) -> None:
    """Split a picture into regions of like colour, by k-means or by mean shift, which finds out how many."""
    from figment.cli.commands import _print_json
    from figment.cli.progress import brief, table
    from figment.core.errors import UsageError
    from figment.data import decode
    from figment.pictures import save_png, sheet
    from figment.pixels.regions import regions

    out = out or Path(f"{picture.stem}-colours.png")
    if out.suffix != ".png":
        raise UsageError(f"--out {out}: the picture goes into a .png.")
    try:
        data = picture.read_bytes()
        head = decode.header(data)
        scale = min(1.0, size / max(head.width, head.height))
        shape = (3, max(1, round(scale * head.height)), max(1, round(scale * head.width)))
        rgb = decode.picture(data, shape).transpose(1, 2, 0)
    except OSError as error:
        raise UsageError(f"{picture}: {error.strerror}.") from None
    except decode.Unreadable as fault:
        raise UsageError(f"{picture} cannot be read: {fault}.") from None
    found = regions(rgb, count, bandwidth, seed)
    recipe = {"picture": picture.name, "count": count, "bandwidth": bandwidth, "seed": seed}
    save_png(sheet([[rgb, found.picture]], columns=("picture", f"{len(found.colours)} regions")), out, recipe)
    rows = [
        {"region": i, "colour": "#" + bytes(colour).hex(), "share": float(share)}
        for i, (colour, share) in enumerate(zip(found.colours, found.shares))
    ]
    if as_json:
        _print_json({"regions": rows, "picture": str(out)})
        return
    table([{**row, "share": brief(row["share"])} for row in rows])
    typer.echo(out)
