export interface User {
  id: string;
  name: string;
}

const KEY = "user";

export function currentUser(): User | undefined {
  const known = sessionStorage.getItem(KEY);
  return known === null ? undefined : JSON.parse(known);
}

export function SignIn({ signedIn }: { signedIn: (user: User) => void }) {
  const submit = (form: FormData) => {
    const name = String(form.get("name")).replaceAll(":", "").trim();
    if (name === "") return;
    const user = { id: name.toLowerCase(), name };
    sessionStorage.setItem(KEY, JSON.stringify(user));
    signedIn(user);
  };
  return (
    <main className="sign-in">
      <form action={submit}>
        <h1>Dormouse example</h1>
        <label>
          Your name <input name="name" required maxLength={40} autoFocus />
        </label>
        <button type="submit">Come in</button>
      </form>
    </main>
  );
}
