/** What is said in one line. `status` is 2 for what the arguments can mend, otherwise 1. */
export class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}
