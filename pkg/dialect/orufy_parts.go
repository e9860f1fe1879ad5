package dialect

type orufyPerson struct {
	Type     any `json:"type"`
	ID       any `json:"_id"`
	FullName any `json:"fullName"`
	Email    any `json:"email"`
}

// orufyPersonOf is who did something; nil when that is not known.
func orufyPersonOf(actor value) any {
	if !actor.isObject() {
		return nil
	}
	return orufyPerson{
		Type: actor.at("type").upper(), ID: actor.at("id").text(), FullName: actor.at("full_name").text(),
		Email: actor.at("email").text(),
	}
}

type orufyCancellation struct {
	Timestamp   any `json:"timestamp"`
	Reason      any `json:"reason"`
	CancelledBy any `json:"cancelledBy"`
}

func orufyCancellationOf(c value) any {
	if !c.isObject() {
		return nothing()
	}
	return orufyCancellation{
		Timestamp: c.at("cancel_time").time(milliseconds), Reason: c.at("reason").text(),
		CancelledBy: orufyPersonOf(c.at("canceled_by")),
	}
}

type orufyReschedule struct {
	Timestamp     any `json:"timestamp"`
	Reason        any `json:"reason"`
	RescheduledBy any `json:"rescheduledBy"`
	NewMeetID     any `json:"newMeetId"`
	PrevTime      any `json:"prevTime"`
	PrevEndTime   any `json:"prevEndTime"`
}

func orufyRescheduleOf(r value) any {
	if !r.isObject() {
		return nothing()
	}
	return orufyReschedule{
		Timestamp: r.at("reschedule_time").time(milliseconds), Reason: r.at("reason").text(),
		RescheduledBy: orufyPersonOf(r.at("rescheduled_by")), NewMeetID: r.at("new_meeting_id").text(),
		PrevTime:    r.at("previous_start_time").time(milliseconds),
		PrevEndTime: r.at("previous_end_time").time(milliseconds),
	}
}

type orufyAgent struct {
	ID        any `json:"_id"`
	FirstName any `json:"firstName"`
	FullName  any `json:"fullName"`
	Email     any `json:"email"`
	Phone     any `json:"phone"`
	JobTitle  any `json:"jobTitle"`
	ImageURL  any `json:"imageUrl"`
	Locale    any `json:"locale"`
	Timezone  any `json:"timezone"`
}

func orufyAgentOf(host value) orufyAgent {
	return orufyAgent{
		ID: host.at("id").text(), FirstName: host.at("first_name").text(), FullName: host.at("full_name").text(),
		Email: host.at("email").text(), Phone: host.at("phone_number").text(), JobTitle: host.at("job_title").text(),
		ImageURL: host.at("image_url").text(), Locale: host.at("locale").text(), Timezone: host.at("time_zone").text(),
	}
}

type orufyAttendee struct {
	ID           any  `json:"_id"`
	FirstName    any  `json:"firstName"`
	FullName     any  `json:"fullName"`
	Email        any  `json:"email"`
	Phone        any  `json:"phone"`
	Locale       any  `json:"locale"`
	Timezone     any  `json:"timezone"`
	MarkAsNoShow bool `json:"markAsNoShow"`
	Status       any  `json:"status"`
	Cancellation any  `json:"cancellation"`
	Reschedule   any  `json:"reschedule"`
}

func orufyAttendeeOf(a value) orufyAttendee {
	return orufyAttendee{
		ID: a.at("id").text(), FirstName: a.at("first_name").text(), FullName: a.at("full_name").text(),
		Email: a.at("email").text(), Phone: a.at("phone_number").text(), Locale: a.at("locale").text(),
		Timezone: a.at("time_zone").text(), MarkAsNoShow: a.at("is_no_show").isTrue(),
		Status: orufyStatus(a.at("status")), Cancellation: orufyCancellationOf(a.at("cancellation")),
		Reschedule: orufyRescheduleOf(a.at("rescheduling")),
	}
}

type orufyNote struct {
	ID        any `json:"_id"`
	Text      any `json:"text"`
	Author    any `json:"author"`
	CreatedAt any `json:"createdAt"`
}

func orufyNoteOf(n value) orufyNote {
	return orufyNote{
		ID: n.at("id").text(), Text: n.at("text").text(), Author: orufyPersonOf(n.at("author")),
		CreatedAt: n.at("create_time").time(milliseconds),
	}
}

type orufyReminder struct {
	ID            any `json:"_id"`
	Channel       any `json:"channel"`
	Recipient     any `json:"recipient"`
	MinutesBefore any `json:"minutesBefore"`
	Status        any `json:"status"`
}

func orufyReminderOf(r value) orufyReminder {
	return orufyReminder{
		ID: r.at("id").text(), Channel: r.at("channel").upper(), Recipient: r.at("recipient").upper(),
		MinutesBefore: r.at("minutes_before").number(), Status: orufyStatus(r.at("status")),
	}
}

type orufyFollowUp struct {
	ID           any `json:"_id"`
	Channel      any `json:"channel"`
	MinutesAfter any `json:"minutesAfter"`
	Subject      any `json:"subject"`
	Message      any `json:"message"`
	Status       any `json:"status"`
}

func orufyFollowUpOf(f value) any {
	if !f.isObject() {
		return nil
	}
	return orufyFollowUp{
		ID: f.at("id").text(), Channel: f.at("channel").upper(), MinutesAfter: f.at("minutes_after").number(),
		Subject: f.at("subject").text(), Message: f.at("message").text(), Status: orufyStatus(f.at("status")),
	}
}

type orufyCalendarEvent struct {
	ID         any `json:"_id"`
	CalendarID any `json:"calendarId"`
	Provider   any `json:"provider"`
	URL        any `json:"url"`
}

func orufyCalendarEventOf(c value) any {
	if !c.isObject() {
		return nil
	}
	return orufyCalendarEvent{
		ID: c.at("id").text(), CalendarID: c.at("calendar_id").text(), Provider: c.at("provider").upper(),
		URL: c.at("url").text(),
	}
}

type orufyPayment struct {
	ID                any `json:"_id"`
	AppID             any `json:"appId"`
	Amount            any `json:"amount"`
	CurrencyCode      any `json:"currencyCode"`
	Method            any `json:"method"`
	Status            any `json:"status"`
	BillingName       any `json:"billingName"`
	BillingAddress    any `json:"billingAddress"`
	PaymentTime       any `json:"paymentTime"`
	ExternalPaymentID any `json:"externalPaymentId"`
	EmailID           any `json:"emailId"`
	Note              any `json:"note"`
	MeetCreatedAt     any `json:"meetCreatedAt"`
	AmountOnDuration  any `json:"amountOnDuration"`
	OrderID           any `json:"orderId"`
	CreatedAt         any `json:"createdAt"`
	UpdatedAt         any `json:"updatedAt"`
}

func orufyPaymentOf(p value) any {
	if !p.isObject() {
		return nil
	}
	return orufyPayment{
		ID: p.at("id").text(), AppID: p.at("application_id").text(), Amount: p.at("amount").number(),
		CurrencyCode: p.at("currency").text(), Method: p.at("method").upper(), Status: orufyStatus(p.at("status")),
		BillingName: p.at("billing_name").text(), BillingAddress: orufyAddressOf(p.at("billing_address")),
		PaymentTime:       p.at("payment_time").time(milliseconds),
		ExternalPaymentID: p.at("external_id").text(), EmailID: p.at("email").text(), Note: p.at("note").text(),
		MeetCreatedAt:    p.at("meeting_create_time").time(milliseconds),
		AmountOnDuration: p.at("amount_by_duration").amounts(), OrderID: p.at("order_id").text(),
		CreatedAt: p.at("create_time").time(milliseconds), UpdatedAt: p.at("update_time").time(milliseconds),
	}
}

type orufyAddress struct {
	Line1      any `json:"line1"`
	Line2      any `json:"line2"`
	City       any `json:"city"`
	Region     any `json:"region"`
	PostalCode any `json:"postalCode"`
	Country    any `json:"country"`
}

func orufyAddressOf(a value) any {
	if !a.isObject() {
		return nil
	}
	return orufyAddress{
		Line1: a.at("line1").text(), Line2: a.at("line2").text(), City: a.at("city").text(),
		Region: a.at("region").text(), PostalCode: a.at("postal_code").text(), Country: a.at("country").text(),
	}
}
