package demo

// Names of people are made of these and mean nothing.
var (
	onsets = []string{"b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "dr", "kl", "tr", "st"}
	vowels = []string{"a", "e", "i", "o", "u", "ai", "el", "in", "or", "un"}
)

// clinicWords are what a clinic writes. Drugs and wards are made up.
var clinicWords = words{
	labels:  []string{"urgent", "follow-up", "laboratory", "imaging", "referral", "chronic", "consent given", "interpreter needed", "allergy", "reviewed"},
	kinds:   []string{"visit note", "referral", "laboratory report", "discharge summary", "care plan"},
	authors: []string{"physician", "nurse", "resident", "therapist"},
	titles:  []string{"{symptom}", "{symptom}, {course}", "{ward}, {symptom}"},
	opening: []string{
		"Presents with {symptom} for {n} days, {course}.",
		"Seen again in {ward} after {n} weeks; {symptom} is {course}.",
		"Referred to {ward} because of {symptom}.",
	},
	middle: []string{
		"On examination {finding}.",
		"{test} shows {result}.",
		"Takes {drug} and tolerates it well.",
		"{drug} was stopped {n} days ago because of {symptom}.",
		"No known allergy except to {drug}.",
		"Sleeps {n} hours, appetite {course}.",
		"The family asks for a written plan and was given one.",
		"Walks {n} minutes without a stop.",
	},
	closing: []string{
		"Plan: {plan}, review in {n} weeks.",
		"Plan: {plan}; continue {drug}.",
		"Discharged with {drug}; {plan} if {symptom} returns.",
	},
	message: []string{
		"Please confirm the dose of {drug} before the round.",
		"{test} is back: {result}. Do we still need {plan}?",
		"The patient called about {symptom}, {course} for {n} days.",
	},
	task: []string{"Arrange {plan}", "Repeat {test}", "Call back about {symptom}", "Check the dose of {drug}"},
	lists: map[string][]string{
		"symptom": {"dry cough", "back pain", "dizziness", "swollen ankles", "headache", "shortness of breath on stairs", "a skin rash", "joint stiffness", "heartburn", "numb fingers", "tiredness", "blurred vision"},
		"course":  {"improving", "unchanged", "slowly getting worse", "worse at night", "better with rest", "different every day"},
		"finding": {"lungs are clear", "blood pressure is slightly raised", "there is mild tenderness", "the wound is clean and dry", "gait is steady", "reflexes are equal", "there is no fever"},
		"test":    {"Blood count", "Chest film", "Kidney panel", "Sugar profile", "Ultrasound", "Heart tracing", "Thyroid panel"},
		"result":  {"nothing new", "a small change since the last time", "values within the usual range", "a value just above the range", "a picture that fits the complaint"},
		"plan":    {"physiotherapy", "a second opinion", "a follow-up visit", "a change of diet", "a sleep diary", "a hearing test", "home visits"},
		"drug":    {"Examplin", "Placebal", "Demoxan", "Testavir", "Samplidone", "Fictolol", "Mockazepam", "Noremedin"},
		"ward":    {"ward North", "ward South", "day clinic", "outpatients", "ward Garden", "rehabilitation"},
	},
}

// advisoryWords are what an advisory firm writes. Instruments are made up.
var advisoryWords = words{
	labels:  []string{"urgent", "client signed", "needs review", "tax", "complaint", "pension", "inheritance", "high risk", "archived", "reviewed"},
	kinds:   []string{"meeting memo", "suitability memo", "rebalancing proposal", "quarterly letter", "complaint file"},
	authors: []string{"adviser", "analyst", "compliance officer", "assistant"},
	titles:  []string{"{topic}", "{topic} and {instrument}", "{account}, {topic}"},
	opening: []string{
		"The client asked about {topic} in a meeting of {n} quarters of an hour.",
		"Review of the {account} after {n} months; the profile is {profile}.",
		"We discussed {topic} by telephone and agreed to write it down.",
	},
	middle: []string{
		"{instrument} makes up {n} percent of the portfolio, which is {view}.",
		"We propose to sell half of {instrument} and to hold {instrument}.",
		"The client needs the money in {n} years and accepts {risk}.",
		"Costs of {instrument} were explained; the sheet was handed over.",
		"The plan for {topic} is {view}.",
		"The spouse is informed and agrees.",
		"Our house view of {instrument} is {view}.",
	},
	closing: []string{
		"Next step: {step} within {n} days.",
		"Decision: {step}; the profile stays {profile}.",
		"The client will think about it; {step} in {n} weeks.",
	},
	message: []string{
		"Please check {instrument} against a profile of {profile}.",
		"The client called about {topic}; {step} would help.",
		"Compliance asks why {risk} was accepted for the {account}.",
	},
	task: []string{"Prepare {step}", "Document {topic}", "Ask about {risk}", "Review {instrument} in the {account}"},
	lists: map[string][]string{
		"topic":      {"retirement at sixty", "the sale of a house", "school fees", "an inheritance", "currency exposure", "monthly withdrawals", "a gift to the children", "fees", "sustainability preferences"},
		"instrument": {"Example World Fund", "Sample Bond 2031", "Demo Short Note", "Placeholder Property Trust", "Fiction Growth Fund", "Mock Treasury Ladder", "Testbed Small Caps", "Invented Gold Notes", "Imaginary Water Bond"},
		"account":    {"joint account", "pension account", "savings plan", "custody account"},
		"profile":    {"cautious", "balanced", "dynamic"},
		"risk":       {"a fall of ten percent", "no fall in any year", "a loss for two years", "currency swings"},
		"view":       {"in line with the profile", "more than the profile allows", "worth a second look", "unchanged since the last review"},
		"step":       {"a new questionnaire", "a signed order", "a comparison of costs", "a call with the tax adviser", "a rebalancing"},
	},
}
