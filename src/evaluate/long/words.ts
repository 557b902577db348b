// Words that long texts are made of.

const split = (text: string): readonly string[] => text.trim().split(/\s+/);

/** Names of things: keys of needles. */
export const nouns = split(`
acorn anchor anvil apron arrow badge bakery balcony banjo barrel basket beacon bell bench bicycle blanket bonnet bottle bridge broom
bucket button cabin cactus camera candle canoe canyon carpet castle cedar cellar chapel chimney circus clover comet compass copper
coral cottage cradle crayon cricket crystal curtain dagger daisy desert diamond dolphin donkey dragon drum eagle easel ember engine
falcon feather fern ferry fiddle flask flute forest fountain fox garden garnet geyser ginger glacier goblet granite guitar hammer
harbor harp hazel helmet heron hinge honey hopper island ivory jacket jasmine jigsaw kettle kite ladder lagoon lantern lemon lily
lizard locket lobster magnet mango maple marble meadow medal melon mirror mitten monsoon mustard napkin needle nest nutmeg oasis
olive onion orchard otter oven paddle paper parrot pebble pelican pepper piano pillow pirate planet plum pocket pony poppy puzzle
quilt rabbit radish raven ribbon river rocket saddle saffron sailor sandal sapphire scarf shovel spade sparrow spider spoon statue
stove sugar summit sword tablet teapot temple thimble thistle thunder tiger timber trumpet tulip turtle umbrella valley velvet
village violin walnut whistle willow window zebra
`);

export const adjectives = split(`
amber ancient autumn azure blue bold brave bright brisk broad bronze calm careful cheerful clever cloudy coastal cold crimson curious
daring deep distant dusty eager early eastern elegant empty faint famous fancy fearless fierce foggy formal frosty gentle giant glad
golden grand green happy hasty heavy hidden hollow honest humble hungry icy inner jolly keen kind lasting lazy lively lonely loud
loyal lucky mellow mild misty modest muddy narrow neat nimble noble northern odd old orange pale patient plain polite proud purple
quick quiet rapid rare red restless rough round royal rusty salty sandy scarlet secret sharp shiny shy silent silver simple sleepy
slow small smooth snowy soft solid southern spare steady stormy strange sturdy subtle sunny sweet swift tall tame tender thin tidy
tiny tired violet warm wary western white wide wild windy wise wooden yellow young
`);

/** Sentences without a key, a number or a colon: hay. */
export const hay: readonly string[] = [
  "The lamp on the wall burns all night.",
  "A road goes past the mill and over the hill.",
  "Rain came in the morning and went by noon.",
  "They sat down, drank their tea and said little.",
  "Nobody knew who had left the gate open.",
];
