import { usePresence } from "@dormouse/client/react";

export function People() {
  const { users, status, setStatus, userId } = usePresence();
  return (
    <section aria-label="People">
      <ul>
        {users.map((user) => (
          <li key={user.userId} data-status={user.status}>
            {user.userName} {user.userId === userId && "(you)"} <span className="status">{user.status}</span>
          </li>
        ))}
      </ul>
      <label>
        Your status{" "}
        <select value={status} onChange={({ target }) => setStatus(target.value as typeof status)}>
          <option>online</option>
          <option>away</option>
          <option>busy</option>
        </select>
      </label>
    </section>
  );
}
