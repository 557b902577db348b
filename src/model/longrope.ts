// LongRoPE: divisors of the rotation's frequencies for contexts longer than a model was trained on.
// angle = position * theta^(-2i/d) / factor[i]; cos and sin are multiplied by the attention factor. Source: LongRoPE (arXiv 2402.13753).
import { CpmError } from "../errors.ts";
import { type ModelConfig, ropeDim } from "./config.ts";
import { ln } from "./exact.ts";

/** sqrt(1 + ln(s) / ln(L)) for a model of `contextLength` = s * L tokens that was trained on L = `original`; 1 for s <= 1. */
export const attentionFactor = (contextLength: number, original: number): number =>
  Math.sqrt(1 + ln(Math.max(1, contextLength / original)) / ln(Math.max(2, original)));

/** Published factors for 128k tokens of context: MiniCPM4-8B and MiniCPM4.1-8B (heads of 128). Used as short and long ones. */
export const PUBLISHED_FACTORS = {
  "minicpm4-128k": [
    0.9977997200264581, 1.014658295992452, 1.0349680404997148, 1.059429246056193, 1.0888815016813513, 1.1243301355211495,
    1.166977103606075, 1.2182568066927284, 1.2798772354275727, 1.3538666751582975, 1.4426259039919596, 1.5489853358570191,
    1.6762658237220625, 1.8283407612492941, 2.0096956085876183, 2.225478927469756, 2.481536379650452, 2.784415934557119,
    3.1413289096347365, 3.560047844772632, 4.048719380066383, 4.752651957515948, 5.590913044973868, 6.584005926629993,
    7.7532214876576155, 9.119754865903639, 10.704443927019176, 12.524994176518703, 14.59739595363613, 16.93214476166354,
    19.53823297353041, 22.417131025031697, 25.568260840911098, 28.991144156566317, 32.68408069090375, 36.65174474170465,
    40.90396065611201, 45.4664008671033, 50.37147343433591, 55.6804490772103, 61.470816952306556, 67.8622707390618,
    75.00516023410414, 83.11898235973767, 92.50044360202462, 103.57086856690864, 116.9492274587385, 118.16074567836519,
    119.18497548708795, 120.04810876261652, 120.77352815196981, 121.38182790207875, 121.89094985353891, 122.31638758099915,
    122.6714244963338, 122.9673822552567, 123.21386397019609, 123.41898278254268, 123.58957065488238, 123.73136519024158,
    123.84917421274221, 123.94701903496814, 124.02825801299717, 124.09569231686116,
  ],
  "minicpm4.1-128k": [
    0.9982316082870437, 1.033048153422584, 1.0749920956484724, 1.1255096879436193, 1.1863348602111476, 1.259543828902579,
    1.3476188888731149, 1.4535223827776373, 1.5807816745852985, 1.7335856049489526, 1.9168922912975785, 2.1365471404135326,
    2.3994084200118646, 2.713475511863602, 3.0880118452194134, 3.533650295140154, 4.062463396503134, 4.687974098908333,
    5.425075306704039, 6.289818967956352, 7.29902962722721, 8.6357018163639, 10.210822723989212, 12.053807765671676,
    14.193944598909404, 16.65780676784363, 19.463620727694074, 22.628311203524586, 26.150106147261315, 30.02526691405111,
    34.23183327975347, 38.73811934094828, 43.502489489729555, 48.47627117965394, 53.61139491762471, 58.857366522037935,
    64.16798299215064, 69.51359464319125, 74.86555458220285, 80.21497790341579, 85.55322183307433, 90.89611806932027,
    96.26245306514224, 101.68269304046481, 107.18619510219668, 112.82253283014026, 118.63764063163615, 119.88866203644656,
    120.9462882391725, 121.837565139014, 122.58663780572562, 123.2147719894291, 123.74049454862576, 124.17980424685767,
    124.54641761955492, 124.85202548028222, 125.10654406389756, 125.31835105170659, 125.49450117164764, 125.64091910903052,
    125.76256945356558, 125.86360463815589, 125.94749252260765, 126.01712561287873,
  ],
} as const satisfies Record<string, readonly number[]>;

/** A published set by name, or headDim / 2 positive numbers. */
export type RopeFactors = keyof typeof PUBLISHED_FACTORS | readonly number[];

/** The configuration with these factors in place of its own, at every context size. Throws "bad-option" for what does not fit. */
export function withFactors(config: ModelConfig, option: RopeFactors | undefined): ModelConfig {
  if (option === undefined) return config;
  const names = Object.keys(PUBLISHED_FACTORS).map((name) => `"${name}"`);
  const factors: unknown =
    typeof option === "string" ? (Object.hasOwn(PUBLISHED_FACTORS, option) ? PUBLISHED_FACTORS[option] : undefined) : option;
  const wanted = ropeDim(config) / 2;
  const fits =
    Array.isArray(factors) &&
    factors.length === wanted &&
    factors.every((x) => typeof x === "number" && Number.isFinite(x) && x > 0);
  if (!fits) {
    const found = Array.isArray(factors) ? `${factors.length} values` : JSON.stringify(option);
    const expected = `${names.join(" or ")} for heads of 128, or ${wanted} positive numbers for this model's heads of ${config.headDim}`;
    throw new CpmError("bad-option", `ropeFactors: expected ${expected}, found ${found}`, {
      field: "ropeFactors",
      expected,
      found,
    });
  }
  const values = Float32Array.from(factors as readonly number[]);
  return { ...config, ropeShort: values, ropeLong: values };
}
