// Files that a page fetches by their address.
declare module "*?url" {
  const address: string;
  export default address;
}

declare module "*.css";
