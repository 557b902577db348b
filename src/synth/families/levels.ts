/** For whom problems are. */
export const LEVELS = ["primary school", "middle school", "high school", "first years of university"];
