// Bundles the Prebuilt UI into the folder that its page is served from. Runs after `npm ci` in this folder and in the root.
import { build } from "esbuild";
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const built = join(here, "..", "..", "src", "isotape", "web", "static", "prebuilt");

await build({
  absWorkingDir: here,
  entryPoints: { prebuilt: "main.tsx", page: "page.css" },
  outdir: built,
  publicPath: "/static/prebuilt/",
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome110", "firefox115", "safari16"],
  // The UI reads settings of its maker's own build from there; none is set here.
  define: { "process.env.NODE_ENV": '"production"', "process.env": "{}" },
  loader: { ".png": "file", ".svg": "file" },
  legalComments: "linked",
  logLevel: "warning",
});

// A third of 13 MB, compressed once and not for each guest.
await writeFile(join(built, "prebuilt.js.gz"), gzipSync(await readFile(join(built, "prebuilt.js")), { level: 9 }));
