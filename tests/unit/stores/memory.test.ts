import { memoryStore } from "../../../src/stores/memory.js";
import { storeContract } from "../../contracts/store-suite.js";

storeContract({
  name: "memoryStore",
  create: async () => ({ store: memoryStore() }),
  takesNonExtractable: true,
});
