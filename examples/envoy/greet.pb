
∫
greet/greet.protogreet"F
Greeting

first_name (	R	firstName
	last_name (	RlastName">
GreetingRequest+
greeting (2.greet.GreetingRgreeting"*
GreetingResponse
Result (	RResult2b
GreetServiceR
Greet.greet.GreetingRequest.greet.GreetingResponse"Ç”‰ì"/greet:greetingbproto3