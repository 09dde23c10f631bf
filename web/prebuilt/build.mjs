// Bundles the Prebuilt UI into the folder that its page is served from. Runs after `npm ci` in this folder and in the root.
import { build } from "esbuild";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));

await build({
  absWorkingDir: here,
  entryPoints: { prebuilt: "main.tsx", page: "page.css" },
  outdir: join(here, "..", "..", "src", "isotape", "web", "static", "prebuilt"),
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
