// The entry of a lane's worker on a page.
import { serveLane } from "./web.ts";

serveLane();
