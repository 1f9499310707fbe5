// The look of the site. Its pages are laid out by ../stage.mjs; ATTN4J_SITE says where.
import path from "node:path";
import { defineConfig } from "vitepress";

const work = process.env.ATTN4J_SITE;

// As GitHub makes anchors, so that links work in both places.
const slugify = (heading) => heading.trim().toLowerCase().replace(/[^\p{L}\p{N}\p{M}_ -]/gu, "").replace(/ /g, "-");

const page = (text, link) => ({ text, link });

export default defineConfig({
  title: "attn4j",
  description: "SageAttention and SpargeAttn for the JVM",
  lang: "en",
  base: process.env.ATTN4J_SITE_BASE ?? "/",
  srcDir: path.join(work, "pages"),
  outDir: path.join(work, "html"),
  cacheDir: path.join(work, "cache"),
  metaChunk: true,
  // The Javadoc is put beside the pages after they are built, and linkinator looks at links to it.
  ignoreDeadLinks: [/^\/files\//, /^\/api\//],
  markdown: {
    // Pages are Markdown alone, and `<T>` in them is text.
    config: (md) => md.set({ html: false }),
    anchor: { slugify },
  },
  themeConfig: {
    search: { provider: "local" },
    outline: [2, 3],
    nav: [
      page("Getting started", "/getting-started"),
      page("Troubleshooting", "/troubleshooting"),
      { text: "Javadoc", link: "/api/index.html", target: "_self" },
    ],
    sidebar: [
      {
        text: "Use it",
        items: [
          page("Overview", "/overview"),
          page("Getting started", "/getting-started"),
          page("Concepts", "/concepts"),
          page("The API", "/api-tour"),
          page("PyTorch drop-in", "/pytorch"),
          page("TorchScript and DJL", "/torch"),
          page("Several GPUs", "/distributed"),
          page("Masks", "/masks"),
          page("SpargeAttn", "/sparge"),
          page("Tuning", "/tuning"),
          page("Command line", "/cli"),
          page("The demo", "/demo"),
          page("The diffusion model", "/samples-model"),
          page("Server and page", "/server"),
        ],
      },
      {
        text: "When something is odd",
        items: [
          page("Troubleshooting", "/troubleshooting"),
          page("All messages", "/messages"),
          page("Questions", "/faq"),
          page("From Python to Java", "/migration"),
          page("Accuracy", "/accuracy"),
          page("Speed", "/speed"),
        ],
      },
      {
        text: "Kernels",
        items: [
          page("Which kernel runs", "/kernels"),
          page("How sageattn chooses", "/choice"),
          page("Every GPU: mma.sync", "/mma"),
          page("Hopper: INT8 and FP8", "/hopper"),
          page("Hopper: exact", "/exact"),
          page("Few queries", "/decode"),
          page("Kernels on a CPU", "/emulation"),
          page("Architecture", "/architecture"),
        ],
      },
      {
        text: "Logs",
        collapsed: true,
        items: [page("Hopper", "/lab/hopper"), page("Exact", "/lab/exact"), page("mma.sync", "/lab/mma")],
      },
      {
        text: "Project",
        items: [
          page("Platforms and containers", "/platforms"),
          page("Changes", "/changelog"),
          page("Contributing", "/contributing"),
          page("Security", "/security"),
        ],
      },
    ],
  },
});
