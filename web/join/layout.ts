// How many columns let n tiles of 16:9 fill a rectangle best. Pure.

const RATIO = 16 / 9;

export interface Grid {
  columns: number;
  tileWidth: number;
}

/** The column count with the widest tile; gap is the space between two tiles in the same unit as width and height. */
export function fill(count: number, width: number, height: number, gap: number): Grid {
  let best: Grid = { columns: 1, tileWidth: 0 };
  for (let columns = 1; columns <= Math.max(count, 1); columns += 1) {
    const rows = Math.ceil(count / columns);
    const byWidth = (width - gap * (columns - 1)) / columns;
    const byHeight = ((height - gap * (rows - 1)) / rows) * RATIO;
    const tileWidth = Math.floor(Math.min(byWidth, byHeight));
    if (tileWidth > best.tileWidth) best = { columns, tileWidth };
  }
  return best;
}
