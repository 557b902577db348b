// The entry of a lane's worker in Deno.
import { serveLane } from "./web.ts";

serveLane();
