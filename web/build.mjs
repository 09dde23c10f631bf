// Bundles the pages' scripts and styles into the folder that the wheel carries. Runs after `npm ci`, needs no network.
import { build } from "esbuild";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const web = dirname(fileURLToPath(import.meta.url));
const built = join(web, "..", "src", "isotape", "web", "static", "built");

await build({
  absWorkingDir: web,
  entryPoints: {
    join: "join/main.ts",
    dashboard: "dashboard/main.ts",
    isotape: "styles/isotape.css",
    call: "styles/call.css",
    mark: "styles/mark.svg",
  },
  outdir: built,
  bundle: true,
  minify: true,
  format: "esm",
  // The browsers whose WebRTC the client SDK supports today.
  target: ["chrome110", "firefox115", "safari16"],
  // The mark is served as it is drawn.
  loader: { ".svg": "copy" },
  // The SDK's own licence comment stands in its bundle's legal file.
  legalComments: "linked",
  logLevel: "warning",
});
