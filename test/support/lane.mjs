// A lane's thread for tests, which run the sources: threads cannot, so this one runs what `npm run build` made of them.
import "../../dist/host/threads.lane.js";
