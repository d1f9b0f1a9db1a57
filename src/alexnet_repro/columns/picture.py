"""The picture of `docs/columns.md`: ``python -m alexnet_repro.columns.picture`` prints it."""

from html import escape

from alexnet_repro.columns.exchange import LOSS, exchanges, stages
from alexnet_repro.network.alexnet import AlexNet

WIDTH, TOP, BOX, GAP = 150, 60, 150, 50


def columns_svg(network: AlexNet) -> str:
    """Both columns as boxes of their stages, with an arrow for every exchange, as SVG."""
    names = [[n for n in stage if "_" not in n and n != "flatten"] for stage in stages(network)]
    table = exchanges(network)
    width, height = 40 + len(table) * (WIDTH + GAP), 2 * BOX + 2 * TOP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="14" text-anchor="middle">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, (layers, exchange) in enumerate(zip(names, table, strict=True)):
        left = 20 + number * (WIDTH + GAP)
        for column, top in enumerate((20, height - 90)):
            parts.append(
                f'<rect x="{left}" y="{top}" width="{WIDTH}" height="70" rx="6" '
                f'fill="{("#cfe2f3", "#fce5cd")[column]}" stroke="black"/>'
                f'<text x="{left + WIDTH / 2}" y="{top + 40}">{escape(", ".join(layers))}</text>'
            )
        middle, x = height / 2, left + WIDTH + GAP / 2
        shape = "×".join(map(str, exchange.shape))
        reader = "the loss" if exchange.reader == LOSS else exchange.reader
        for y in (55, height - 55):
            parts.append(f'<line x1="{left + WIDTH}" y1="{y}" x2="{x}" y2="{y}" stroke="black"/>')
            if exchange.reader != LOSS:
                parts.append(f'<line x1="{x}" y1="{y}" x2="{x + 25}" y2="{y}" stroke="black"/>')
        parts.append(f'<line x1="{x}" y1="55" x2="{x}" y2="{height - 55}" stroke="#c00"/>')
        for line, text in enumerate((exchange.output, shape, f"to {reader}")):
            parts.append(
                f'<text x="{x - 8}" y="{middle - 18 + 20 * line}" text-anchor="end">'
                f"{escape(text)}</text>"
            )
    return "\n".join([*parts, "</svg>"])


if __name__ == "__main__":
    print(columns_svg(AlexNet()))
