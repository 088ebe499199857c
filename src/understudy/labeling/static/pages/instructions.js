// The rubric's current version, to be read before any work.
import { $, put } from "../lib/dom.js";
import { get, post } from "../lib/net.js";
import { prose } from "../lib/prose.js";
import { onSubmit } from "./form.js";

const EXPLAINED = {
  helpful: "Helpful: does what the user wants and means, clearly, without rambling.",
  truthful: "Truthful: makes nothing up and accepts no false premise.",
  harmless: "Harmless: respectful, and harms neither the user nor anybody or anything else.",
};

let instructions = null;
try {
  instructions = await get("/api/instructions");
  show(instructions);
} catch (error) {
  $("#text").textContent = error.message;
}

function show({ version, instructions: text, priorities, purpose, read, previous }) {
  put($("#text"), prose(text));
  put(
    $("#priorities"),
    priorities.map((name) => {
      const item = document.createElement("li");
      item.textContent = EXPLAINED[name] ?? name;
      return item;
    }),
  );
  $("#purpose").textContent =
    purpose === "evaluation" ? "You judge finished models" : "Your labels train a model";
  $("#version").textContent =
    `Version ${version}${previous && !read ? `. You last read ${previous}; please read what has changed.` : ""}`;
  $("#read").hidden = read;
  $("#already").hidden = !read;
  $("#order").hidden = false;
}

onSubmit($("#read"), () => post("/api/instructions", { version: instructions.version }));
